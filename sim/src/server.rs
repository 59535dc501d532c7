//! The simulator as it runs: a listener, its connections, and the world behind them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin;
use crate::clock::SimClock;
use crate::defaults;
use crate::http::Request;
use crate::http::read::{Inbound, ReadError};
use crate::knobs::Knobs;
use crate::reply::{Refusal, Reply};
use crate::route::Route;
use crate::shape::Shape;
use crate::transmit;
use crate::world::{Plan, World};

/// How to start a simulator. The world is that of [`crate::defaults`].
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The world's time.
    pub clock: SimClock,
    /// The standing behaviour.
    pub knobs: Knobs,
    /// Seed of everything that looks random.
    pub seed: u64,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clock: SimClock::system(),
            knobs: Knobs::default(),
            seed: defaults::SEED,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    clock: SimClock,
}

impl Shared {
    /// A panic elsewhere leaves the world as it is: a test wants to look at it all the more.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}

/// A running simulator. It ends when stopped or dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    accepting: JoinHandle<()>,
}

impl Simulator {
    /// Listens, and serves until stopped. Needs a tokio runtime.
    pub async fn start(options: SimOptions) -> io::Result<Simulator> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            world: Mutex::new(World::with_defaults(options.seed, options.knobs)),
            clock: options.clock,
        });
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), stopped));
        Ok(Simulator { address, shared, stop: Some(stop), accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of every endpoint, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The world, locked: no request is served meanwhile. Never hold it over an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// The world's time.
    pub fn now_ms(&self) -> i64 {
        self.shared.now_ms()
    }

    /// Closes the listener and all connections. The ledger can be read before only.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            incoming = listener.accept() => {
                // An accept that fails is the client's loss; the next one may succeed.
                if let Ok((stream, _)) = incoming {
                    connections.spawn(converse(stream, Arc::clone(&shared)));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Serves one connection until either side ends it. A broken connection is the client's matter;
/// what was sent over it is in the ledger.
async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut inbound = Inbound::new();
    loop {
        let keep = shared.world().knobs().import_limit_bytes;
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let (plan, without_body, close) = match inbound.request(&mut stream, keep).await {
            Ok(Some(request)) => {
                let plan = plan(&shared, &request);
                (plan, request.method == "HEAD", request.close)
            }
            Ok(None) | Err(ReadError::Io(_)) => return,
            Err(ReadError::Malformed(cause)) => (refuse(&shared, 400, &cause), false, true),
            Err(ReadError::HeadTooLong) => {
                let message = "The request header is too large.";
                (refuse(&shared, 494, message), false, true)
            }
        };
        match transmit::send(&mut stream, &shared, plan, without_body, close).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

fn plan(shared: &Arc<Shared>, request: &Request) -> Plan {
    if let Route::Admin(words) = Route::of(request) {
        let reply = admin::answer(shared, request, &words);
        return plain(shared, reply);
    }
    let now_ms = shared.now_ms();
    shared.world().serve(request, now_ms)
}

fn plain(shared: &Shared, reply: Reply) -> Plan {
    Plan { shape: Shape::plain(&reply, shared.now_ms()), reply, ticket: None }
}

fn refuse(shared: &Shared, status: u16, message: &str) -> Plan {
    let refusal = Refusal::gateway(status, 201, message);
    let mut reply = refusal.reply(shared.world().knobs(), "0");
    reply.add_header("X-Request-Id", "0");
    plain(shared, reply)
}
