//! Lines of memcached's meta protocol: the first byte chooses the command.

/// Checks `data` behind the name of a meta command.
pub(crate) fn check(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let commands: [&[u8]; 5] = [b"mg ", b"ms ", b"md ", b"ma ", b"me "];
    let mut input = commands[usize::from(*first) % commands.len()].to_vec();
    input.extend_from_slice(rest);
    super::memcached::check(&input);
}
