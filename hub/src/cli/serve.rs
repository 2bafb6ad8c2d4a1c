//! `cordon serve`: the service.

use std::{io, sync::Arc};

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Common, Exit, Failure, freeze, output};
use crate::{
    serve,
    setup::{self, Wanted},
};

/// The service.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Observe sample findings instead of ignoring them
    #[arg(long)]
    allow_samples: bool,
}

/// What asks the process to end. Registered once, so that none is missed between two.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Obeys `cordon serve`.
pub(super) async fn serve(common: &Common, args: Serve) -> Result<Exit, Failure> {
    let config = common.load()?;
    // A service that listens may be the one that `[hub] api` names.
    if config.api.listen.is_none() {
        common.stays_here(&config, "serve")?;
    }
    if config.queue.is_none() && config.poll_every.is_none() {
        return Err(Failure::usage("there is nothing to serve: set `[queue] url`, or `[poll] every`"));
    }
    let hub = setup::hub(config, Wanted { what: "serve", allow_samples: args.allow_samples, ..Wanted::default() }).await?;
    let mut signals = Signals::new().map_err(|error| Failure::other(format!("signals cannot be listened for: {error}")))?;
    output::tell(&format!("serving account {} in mode {}; stop with Ctrl-C", hub.config.hub.account, hub.config.hub.mode));
    freeze::tell_of(&hub.store).await?;
    let stop = hub.stop.clone();
    let signals = tokio::spawn(async move {
        signals.next().await;
        stop.cancel();
        // Whoever asks twice will not wait: as if it were killed.
        signals.next().await;
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
    let serving = async { Ok::<_, Failure>(serve::serve(Arc::clone(&hub)).await?) };
    let result = setup::holding(&hub, serving).await;
    signals.abort();
    result?;
    output::tell("stopped; what waits goes on when it is started again");
    Ok(Exit::Well)
}
