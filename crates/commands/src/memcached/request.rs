//! What whoever runs requests wants to know of one before it's executed.

use protocol::memcached::Request;

/// The keys that a request is about.
pub fn keys<'b>(request: &Request<'b>) -> impl Iterator<Item = &'b [u8]> + use<'b> {
    let many = match request {
        Request::Get { keys, .. } | Request::GetAndTouch { keys, .. } => Some(*keys),
        _ => None,
    };
    request.key().into_iter().chain(many.into_iter().flatten())
}

/// Whether a request may need memory, so that it's refused when there is none.
pub const fn needs_memory(request: &Request<'_>) -> bool {
    match request {
        Request::Store { .. } | Request::Count { .. } => true,
        Request::MetaSet(..) | Request::MetaArithmetic(..) => true,
        Request::MetaGet(_, asked) => asked.vivify.is_some(),
        _ => false,
    }
}

/// Whether a request is about keys, so that it has to wait until they are loaded.
pub const fn needs_store(request: &Request<'_>) -> bool {
    !matches!(
        request,
        Request::MemoryLimit { .. }
            | Request::Verbosity { .. }
            | Request::Stats { .. }
            | Request::Version
            | Request::Quit
            | Request::MetaNoop
    )
}

/// Whether a request may change something.
pub const fn writes(request: &Request<'_>) -> bool {
    match request {
        Request::MetaGet(_, asked) => {
            asked.vivify.is_some() || asked.touch.is_some() || asked.recache.is_some()
        }
        Request::Get { .. }
        | Request::MemoryLimit { .. }
        | Request::Verbosity { .. }
        | Request::Stats { .. }
        | Request::Version
        | Request::Quit
        | Request::MetaNoop
        | Request::MetaDebug(_) => false,
        _ => true,
    }
}
