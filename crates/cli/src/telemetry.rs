//! Wires traces: from the settings to the exporter, through our own client, and around scheduled runs.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use hambar_core::Chain;
use hambar_fetch::{Direct, Secret};
use hambar_run::schedule::{Ended, Launcher, Order};
use hambar_server::{Collector, Exporter, Reply, Tracer};
use tokio_util::sync::CancellationToken;

use crate::config::headers;
use crate::context::Context;

/// The form of what is sent.
const PROTOBUF: &str = "application/x-protobuf";

/// What a process traces by, and what sends it.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) tracer: Tracer,
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// Starts what the settings want, which is nothing where they name no collector.
    pub(crate) fn start(context: &Context) -> Result<Self> {
        for problem in context.layers.problems() {
            tracing::warn!(%problem, "a setting of OpenTelemetry");
        }
        let settings = &context.config.telemetry;
        let Some(url) = settings.address()? else {
            return Ok(Self { tracer: Tracer::default(), exporter: None });
        };
        let text = settings.headers.as_ref().map(|reference| context.secrets.read(reference)).transpose()?;
        let headers: Vec<(String, Secret)> = headers(text.as_deref().unwrap_or_default())?
            .into_iter()
            .map(|(name, value)| (name, Secret::new(value)))
            .collect();
        let direct = Direct::new(&context.config.fetch, url, &headers, Arc::clone(&context.clock));
        let direct = direct.context("traces cannot be sent to `telemetry.endpoint`")?;
        tracing::info!(collector = direct.shown(), "traces are sent");
        let collector = Arc::new(OtlpCollector { direct });
        let (tracer, exporter) = Tracer::start(settings.settings(), collector, Arc::clone(&context.clock));
        Ok(Self { tracer, exporter: Some(exporter) })
    }

    /// Sends what is left.
    pub(crate) async fn stop(self) {
        if let Some(exporter) = self.exporter {
            exporter.stop().await;
        }
    }
}

/// A collector that is asked over HTTP.
#[derive(Debug)]
struct OtlpCollector {
    direct: Direct,
}

impl Collector for OtlpCollector {
    fn address(&self) -> &str {
        self.direct.shown()
    }

    fn send(&self, message: Bytes) -> BoxFuture<'_, Result<Reply, String>> {
        async move {
            let told = self.direct.post(PROTOBUF, message).await.map_err(|error| Chain(&error).to_string())?;
            Ok(Reply { status: told.status, retry_after: told.retry_after, body: told.body })
        }
        .boxed()
    }
}

/// Starts runs as `inner` does, each in a trace of its own.
#[derive(Debug)]
pub(crate) struct TracedLauncher<L> {
    pub(crate) inner: L,
    pub(crate) tracer: Tracer,
}

#[async_trait]
impl<L: Launcher> Launcher for TracedLauncher<L> {
    async fn launch(&self, order: Order, stop: CancellationToken) -> Ended {
        let mut span = self.tracer.begin("scheduled run");
        span.set("hambar.pipeline", order.job.to_string());
        span.set("hambar.run", order.run.to_string());
        let ended = self.inner.launch(order, stop).await;
        let (outcome, class) = match &ended {
            Ended::Reported(told) => (told.outcome.as_str(), told.class),
            Ended::Silent { class, .. } => ("lost", Some(*class)),
        };
        span.set("hambar.outcome", outcome);
        if let Some(class) = class {
            span.fail(class.name());
        }
        span.end();
        ended
    }
}
