//! Whether a request may have been meant for this server.
//!
//! A page of another site can't read our answers, unless its name is pointed at our address after
//! it was loaded: then the browser takes us for that site (DNS rebinding). It still sends that
//! site's name, so only hosts are answered that nobody else can have: addresses, `localhost`, and
//! names that the administrator gave. The port doesn't matter, it may be a tunnel's.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether a Host line names an address, this machine, or one of `names` (in lower case).
pub(super) fn is_ours(host: &str, names: &[String]) -> bool {
    let Some(name) = without_port(host) else { return false };
    if let Some(inner) = name.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    }
    name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// The name without its port; none if what follows isn't one.
fn without_port(host: &str) -> Option<&str> {
    // The colons of an address in brackets are none before a port.
    let name_end = host.rfind(']').map_or(0, |at| at + 1);
    let (name, rest) = match host.get(name_end..)?.find(':') {
        Some(at) => host.split_at_checked(name_end + at)?,
        None => return (name_end == 0 || name_end == host.len()).then_some(host),
    };
    let port = rest.get(1..)?;
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_port && (name_end == 0 || name.len() == name_end)).then_some(name)
}
