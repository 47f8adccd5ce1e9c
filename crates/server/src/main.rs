//! The `sessile` binary.

use std::net::SocketAddr;
use std::sync::Arc;

use server::live::Live;
use server::os::clock::Clock;
use server::os::heap::Counting;
use server::os::socket::{self, Address};
use server::registry::Registry;
use server::service::Dialect;
use server::workers::acceptor::{Acceptor, Listener, Stopper};
use server::workers::{Common, Pool};

#[global_allocator]
static HEAP: Counting = Counting;

fn main() -> std::io::Result<()> {
    let common = Arc::new(Common {
        live: Arc::new(Live::default()),
        registry: Arc::new(Registry::new()),
        clock: Clock::system(),
    });
    let at = SocketAddr::from(([127, 0, 0, 1], 6390));
    let socket = socket::listen_tcp(at, 511)?;
    let listener = Listener { socket, at: Address::Tcp(at), dialect: Dialect::Resp };
    let pool = Pool::start(&Arc::new(server::glue::Standin), &common, 1)?;
    Acceptor::new(vec![listener], Stopper::new()?)?.run(&pool)?;
    pool.stop()
}
