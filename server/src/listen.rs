//! Connections: accepted, timed, and ended in good order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::{Place, ServeError, State, api};

/// Connections at a time.
const CONNECTIONS: usize = 512;
/// Longest head of a request, in bytes.
const HEAD: usize = 32 << 10;
/// How often it is asked whether to stop.
const GLANCE: Duration = Duration::from_millis(100);
/// Time for what runs when the server is stopped.
const LAST_CALL: Duration = Duration::from_secs(30);

/// A door that clients come through.
enum Door {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// Both ways of a connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Door {
    async fn open(place: &Place) -> Result<(Self, String), ServeError> {
        let failed = |place: String| move |source| ServeError::Listen { place, source };
        match place {
            Place::Address(address) => {
                let listener =
                    TcpListener::bind(address).await.map_err(failed(address.to_string()))?;
                let address = listener.local_addr().unwrap_or(*address);
                Ok((Self::Tcp(listener), format!("http://{address}")))
            }
            #[cfg(unix)]
            Place::Socket(path) => {
                let place = path.display().to_string();
                // Left behind by a server that did not end well; one that listens is not touched.
                if std::os::unix::net::UnixStream::connect(path).is_err() {
                    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| {
                        std::os::unix::fs::FileTypeExt::is_socket(&file.file_type())
                    });
                    if is_socket {
                        let _ = std::fs::remove_file(path);
                    }
                }
                let listener = UnixListener::bind(path).map_err(failed(place.clone()))?;
                Ok((Self::Unix(listener), format!("unix:{place}")))
            }
        }
    }

    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Tokens are small and should not wait for one another.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Serves until `stopped`.
pub(crate) async fn run(
    state: Arc<State>,
    ready: impl FnOnce(&str),
    stopped: impl Fn() -> bool + Send + 'static,
) -> Result<(), ServeError> {
    let (door, address) = Door::open(&state.options.at).await?;
    let router = api::router(state.clone());
    ready(&address);
    let (stop, stopping) = watch::channel(false);
    let housekeeping = tokio::spawn(keep_house(state.clone(), stop, stopped));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut told = stopping.clone();
    loop {
        let place = tokio::select! {
            place = room.clone().acquire_owned() => place,
            _ = told.changed() => break,
        };
        let stream = tokio::select! {
            stream = door.accept() => stream,
            _ = told.changed() => break,
        };
        while connections.try_join_next().is_some() {}
        let Ok(stream) = stream else {
            // Such as too many open files: others may end meanwhile.
            tokio::time::sleep(GLANCE).await;
            continue;
        };
        let connection =
            connected(stream, router.clone(), state.options.patience, stopping.clone());
        connections.spawn(async move {
            let _place = place;
            connection.await;
        });
    }
    drop(door);
    #[cfg(unix)]
    if let Place::Socket(path) = &state.options.at {
        let _ = std::fs::remove_file(path);
    }
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_CALL, all).await;
    housekeeping.abort();
    Ok(())
}

/// Looks whether the server is to stop, and closes models that nobody uses.
async fn keep_house(
    state: Arc<State>,
    stop: watch::Sender<bool>,
    stopped: impl Fn() -> bool + Send + 'static,
) {
    while !stopped() {
        tokio::time::sleep(GLANCE).await;
        if let Some(idle) = state.options.keep_alive {
            state.models.close_idle(idle);
        }
    }
    let _ = stop.send(true);
    // The channel stays open, so that nobody takes its end for a message.
    std::future::pending().await
}

/// One connection, to its end.
async fn connected(
    stream: Box<dyn Stream>,
    router: Router,
    patience: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        // A router is always ready.
        router.clone().call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // What a client does wrong, or that it is gone, is its own matter.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
