//! The one place that every protocol calls: a principal's statement is admitted, run in a query worker, and answered as
//! a stream of Arrow batches, with everything written down that operators need to know.

mod admission;
mod answer;
mod audit;
mod error;
mod ledger;
mod metrics;
mod running;
mod spans;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hambar_core::system::Cell;
use hambar_core::{Classified as _, Clock, TableName, TableStore};
use hambar_query::{
    Description, Facts, Parameters, Progress, QueryError, QueryLimits, QueryPool, Question, RowStream, VersionRead,
    WorkerSettings,
};
use tokio_util::sync::CancellationToken;

use crate::access::{AccessError, Authenticator, Principal, Used};
use crate::catalogue::Catalogue;
use crate::oidc::Failed;
use crate::trace::{self, Tracer};
pub use admission::AdmissionLimits;
use admission::{Admission, Party};
pub use answer::{Answer, Source, terms};
pub(crate) use audit::Audit;
pub use error::FrontError;
pub(crate) use ledger::Ledger;
pub use ledger::used_today;
pub use metrics::{Metrics, ScheduleLoad, TableFreshness};
use running::{Books, Outcome, Record, Registry};
pub use running::{Cancelled, QueryId, RunningQuery};
pub(crate) use spans::CACHE;

/// Tokens of running queries are checked again after so long.
const RECHECK_AFTER: Duration = Duration::from_secs(5);
/// Workers beyond those of members' queries, for the server's own questions.
const OWN_WORKERS: usize = 1;

/// By which way a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `/api/…`
    Http,
    /// Arrow Flight SQL.
    Flight,
    /// The Postgres protocol.
    Postgres,
    /// The web page.
    Web,
}

impl Protocol {
    /// Returns the protocol's name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Flight => "flight",
            Self::Postgres => "postgres",
            Self::Web => "web",
        }
    }
}

/// A request, whatever protocol it came by.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whoever asks.
    pub principal: Arc<Principal>,
    /// By which way.
    pub protocol: Protocol,
    /// From where.
    pub address: Option<IpAddr>,
    /// The statement.
    pub sql: String,
    /// The values of its parameters.
    pub parameters: Parameters,
    /// The limits that they ask for.
    pub limits: AskedLimits,
}

/// Limits that a request asks for. They only tighten those of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskedLimits {
    /// Time for everything.
    pub run_time_max: Option<Duration>,
    /// Rows of the result; the rest is cut off, and the answer says so.
    pub result_rows_max: Option<u64>,
    /// Bytes of the result as Arrow holds it; the rest is cut off, and the answer says so.
    pub result_bytes_max: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes_max: Option<u64>,
    /// Bytes of the files that it may open.
    pub scan_bytes_max: Option<u64>,
}

impl AskedLimits {
    /// Returns `ceiling` with these limits where they are tighter.
    pub(crate) fn within(&self, ceiling: &QueryLimits) -> QueryLimits {
        let asked = QueryLimits {
            run_time_max: self.run_time_max.unwrap_or(ceiling.run_time_max),
            result_rows_max: self.result_rows_max,
            result_bytes_max: self.result_bytes_max.unwrap_or(ceiling.result_bytes_max),
            memory_bytes_max: self.memory_bytes_max.unwrap_or(ceiling.memory_bytes_max),
            scan_bytes_max: self.scan_bytes_max,
            ..ceiling.clone()
        };
        asked.at_most(ceiling)
    }
}

/// What a front needs to know.
#[derive(Debug, Clone)]
pub struct FrontSettings {
    /// How workers are started. Its limits are the ceiling of every query.
    pub workers: WorkerSettings,
    /// How many queries run and wait.
    pub admission: AdmissionLimits,
    /// How often the audit log is written.
    pub audit_every: Duration,
    /// What requests are traced by.
    pub tracer: Tracer,
}

/// How busy a front is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    /// Queries that run.
    pub(crate) running: usize,
    /// Queries that wait.
    pub(crate) queued: usize,
    /// How many may.
    pub(crate) limits: &'a AdmissionLimits,
}

/// Admits and runs queries. Clones share everything.
#[derive(Debug, Clone)]
pub struct QueryFront {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: QueryPool,
    ceiling: QueryLimits,
    admission: Admission,
    books: Books,
    catalogue: Catalogue,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
    tracer: Tracer,
}

impl QueryFront {
    /// Starts the workers over the store of `lake`; `audit` is where the audit log is kept, if it is.
    ///
    /// # Errors
    /// Where the workers cannot be started.
    pub fn start(
        settings: FrontSettings,
        lake: hambar_lake::Lake,
        audit: Option<Arc<dyn TableStore>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FrontError> {
        let metrics = Metrics::new(&settings.tracer);
        let ceiling = settings.workers.limits.clone();
        let pool = QueryPool::start(settings.workers, settings.admission.running_max + OWN_WORKERS)?;
        let own = QueryLimits { reader_time_max: None, ..ceiling.clone() };
        let stopping = CancellationToken::new();
        // Whoever keeps no audit log writes nothing else either.
        let ledger = Ledger::start(lake.object_store(), Arc::clone(&clock), audit.is_some(), stopping.clone());
        let audit = Audit::start(audit, settings.audit_every, metrics.clone());
        let inner = Inner {
            catalogue: Catalogue::new(lake, pool.clone(), own),
            pool,
            ceiling,
            admission: Admission::new(settings.admission),
            books: Books { registry: Registry::default(), audit, metrics, ledger },
            clock,
            stopping,
            tracer: settings.tracer,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs a statement. The answer holds the worker: dropping it stops the query.
    ///
    /// # Errors
    /// Where it is not admitted, refused, or fails before its first row.
    pub async fn query(&self, ask: Ask) -> Result<Answer, FrontError> {
        self.query_as(QueryId::random(), ask).await
    }

    /// Runs a statement under an id that its protocol knows before, so that it can be cancelled while it still waits.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub(crate) async fn query_as(&self, id: QueryId, ask: Ask) -> Result<Answer, FrontError> {
        let question = self.question(&ask);
        self.run(id, ask, question).await
    }

    /// Runs a statement over `standing` versions of tables of which it names none, in one part: over the same versions it
    /// gives the same rows, to the last digit of a sum.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_standing(&self, ask: Ask, standing: BTreeMap<TableName, u64>) -> Result<Answer, FrontError> {
        let question = Question { standing, ..self.question(&ask) };
        let limits = QueryLimits { partitions: 1, ..question.limits };
        self.run(QueryId::random(), ask, Question { limits, ..question }).await
    }

    async fn run(&self, id: QueryId, ask: Ask, question: Question) -> Result<Answer, FrontError> {
        let inner = &self.inner;
        let mut record = Record::start(id, &ask, inner.clock.now(), &inner.books);
        let outcome = self.admitted(&ask, &question, &mut record).await;
        match outcome {
            Ok((rows, turn, sources)) => {
                record.versions = rows.versions().to_vec();
                Ok(Answer::new(rows, turn, record, sources))
            }
            Err(error) => {
                record.end(Outcome::of(&error));
                Err(error)
            }
        }
    }

    async fn admitted(
        &self,
        ask: &Ask,
        question: &Question,
        record: &mut Record,
    ) -> Result<(RowStream, admission::Turn, Vec<Source>), FrontError> {
        let stopped = || FrontError::Query(QueryError::Stopped);
        if self.inner.stopping.is_cancelled() {
            return Err(FrontError::Stopping);
        }
        self.admit(&ask.principal, &Used { queries: 1, ..Used::default() })?;
        let party = party(&ask.principal);
        let turn = async {
            tokio::select! {
                biased;
                () = record.stop.cancelled() => Err(stopped()),
                turn = self.inner.admission.turn(&party) => turn,
            }
        };
        let turn = spans::queue(&record.span, turn).await?;
        record.queued();
        let rows = self.inner.pool.run(question, record.stop.clone(), record.progress.clone()).await?;
        let sources = self.sources(rows.versions()).await?;
        Ok((rows, turn, sources))
    }

    /// Says which columns and parameters a statement has and what it reads, without running it.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn describe(&self, ask: &Ask) -> Result<Description, FrontError> {
        if self.inner.stopping.is_cancelled() {
            return Err(FrontError::Stopping);
        }
        let mut span = spans::begin("describe", ask);
        let described = async {
            let _turn = spans::queue(&span, self.inner.admission.turn(&party(&ask.principal))).await?;
            let progress = Progress::default();
            let described = self.inner.pool.describe(&self.question(ask), progress.clone()).await;
            spans::planned(&span, &progress, described.as_ref().err().map(QueryError::class));
            Ok(described?)
        };
        let described = described.await;
        if let Err(error) = &described {
            spans::failed(&mut span, FrontError::class(error));
        }
        described
    }

    fn question(&self, ask: &Ask) -> Question {
        Question {
            sql: ask.sql.clone(),
            parameters: ask.parameters.clone(),
            visibility: ask.principal.visibility().clone(),
            limits: ask.limits.within(&self.inner.ceiling),
            standing: BTreeMap::new(),
        }
    }

    /// Returns whom to name for these versions, and on which terms they may be used.
    ///
    /// # Errors
    /// Where that cannot be read: no answer goes out without it.
    pub async fn sources(&self, versions: &[VersionRead]) -> Result<Vec<Source>, FrontError> {
        if versions.is_empty() {
            return Ok(Vec::new());
        }
        let datasets = self.inner.catalogue.datasets().await?;
        Ok(answer::sources(versions, &datasets))
    }

    /// Returns the queries that `who` may see: their own, and for operators all of them.
    pub fn running(&self, who: &Principal) -> Vec<RunningQuery> {
        self.inner.books.registry.list(who)
    }

    /// Stops a query of `who`, or for operators of anybody.
    pub fn cancel(&self, who: &Principal, id: QueryId) -> Cancelled {
        self.inner.books.registry.cancel(who, id)
    }

    /// Returns what is declared about tables.
    pub fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    /// Returns the ceiling of every query's limits.
    pub fn ceiling(&self) -> &QueryLimits {
        &self.inner.ceiling
    }

    /// Returns the counters, brought up to date.
    pub fn metrics(&self) -> &Metrics {
        let (running, queued) = self.inner.admission.load();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.inner.books.metrics.running.set(number(running));
        self.inner.books.metrics.queued.set(number(queued));
        &self.inner.books.metrics
    }

    /// Lets nobody have another answer whose organisation has used its quota of the day; counts `more` as used.
    ///
    /// # Errors
    /// [`FrontError::Spent`], with the instant when the next day begins.
    pub(crate) fn admit(&self, principal: &Principal, more: &Used) -> Result<(), FrontError> {
        let admitted = self.inner.books.ledger.admit(principal, more);
        if let Err(FrontError::Spent { measure, .. }) = &admitted {
            self.inner.books.metrics.spent(*measure);
        }
        admitted
    }

    /// Returns what an organisation has used today, as far as this server knows.
    pub(crate) fn used(&self, organisation: &str) -> Used {
        self.inner.books.ledger.used(organisation)
    }

    /// Writes an answer down that needed no query: `outcome` is `cached` or `unchanged`, `bytes` what was sent.
    pub(crate) fn reused(&self, ask: &Ask, facts: &Facts, outcome: &'static str, bytes: u64) {
        let inner = &self.inner;
        inner.books.metrics.cache(outcome);
        let statement = crate::access::fingerprint(&ask.sql);
        let member = ask.principal.name();
        let place = trace::current();
        let traced = place.id().map(tracing::field::display);
        let protocol = ask.protocol.name();
        tracing::info!(%member, protocol, outcome, %statement, bytes, trace = traced, "query not needed");
        place.note(spans::CACHE, outcome);
        place.note(spans::STATEMENT, statement.as_str());
        let owned = |text: Option<&str>| Cell::Text(text.map(str::to_owned));
        inner.books.audit.add(vec![
            ("started_at", inner.clock.now().into()),
            ("event", "query".into()),
            ("member", member.into()),
            ("organisation", owned(ask.principal.organisation())),
            ("token", owned(ask.principal.token())),
            ("protocol", ask.protocol.name().into()),
            ("address", ask.address.map(|address| address.to_string()).into()),
            ("statement_sha256", statement.into()),
            ("tables", running::tables_read(&facts.versions).into()),
            ("outcome", outcome.into()),
            ("bytes", bytes.into()),
        ]);
    }

    /// Writes a refused login down. Of many from one address, only the first ones: the rest is counted.
    pub fn login_refused(&self, protocol: Protocol, address: Option<IpAddr>, error: &AccessError) {
        self.inner.books.metrics.logins_refused.inc();
        if matches!(error, AccessError::Tried) {
            return;
        }
        self.inner.books.audit.add(vec![
            ("started_at", self.inner.clock.now().into()),
            ("event", "login".into()),
            ("protocol", protocol.name().into()),
            ("address", address.map(|address| address.to_string()).into()),
            ("outcome", "refused".into()),
        ]);
    }

    /// Writes a login elsewhere down that failed. Of many from one address, only the first ones (`is_told`).
    pub(crate) fn login_failed(&self, address: Option<IpAddr>, failed: &Failed, is_told: bool) {
        let reason = failed.failure.name();
        self.inner.books.metrics.login_elsewhere(reason);
        if !is_told {
            return;
        }
        tracing::warn!(reason, why = %failed.why, who = failed.who.as_deref(), "login elsewhere refused");
        self.inner.books.audit.add(vec![
            ("started_at", self.inner.clock.now().into()),
            ("event", "login".into()),
            ("member", Cell::Text(failed.who.clone())),
            ("protocol", Protocol::Web.name().into()),
            ("address", address.map(|address| address.to_string()).into()),
            ("outcome", "refused".into()),
            ("error_class", failed.failure.class().name().into()),
        ]);
    }

    /// Writes a login down.
    pub(crate) fn logged_in(&self, protocol: Protocol, address: Option<IpAddr>, principal: &Principal) {
        let owned = |text: Option<&str>| Cell::Text(text.map(str::to_owned));
        tracing::info!(member = %principal.name(), protocol = protocol.name(), "logged in");
        self.inner.books.audit.add(vec![
            ("started_at", self.inner.clock.now().into()),
            ("event", "login".into()),
            ("member", principal.name().into()),
            ("organisation", owned(principal.organisation())),
            ("token", owned(principal.token())),
            ("protocol", protocol.name().into()),
            ("address", address.map(|address| address.to_string()).into()),
            ("outcome", "accepted".into()),
        ]);
    }

    /// Returns what requests are traced by.
    pub fn tracer(&self) -> &Tracer {
        &self.inner.tracer
    }

    /// Returns the instant, by the clock of the server.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.inner.clock.now()
    }

    /// Returns how many queries run and wait, and how many may.
    pub(crate) fn load(&self) -> Load<'_> {
        let (running, queued) = self.inner.admission.load();
        Load { running, queued, limits: self.inner.admission.limits() }
    }

    /// Stops the queries of principals whose token ends, until the front is stopped. Run it beside the listeners.
    pub async fn watch(&self, authenticator: &Authenticator) {
        loop {
            tokio::select! {
                () = self.inner.stopping.cancelled() => return,
                () = tokio::time::sleep(RECHECK_AFTER) => {}
            }
            for entry in self.inner.books.registry.principals() {
                match authenticator.is_current(&entry.principal).await {
                    Ok(true) => {}
                    Ok(false) => entry.stop.cancel(),
                    // New work is refused while the members cannot be read; running work may end.
                    Err(error) => tracing::warn!(error = %hambar_core::Chain(&error), "running queries not checked"),
                }
            }
        }
    }

    /// Lets nothing new in, gives what runs `drain` to end, stops what is left, and writes the audit log.
    pub async fn stop(&self, drain: Duration) {
        self.inner.stopping.cancel();
        let ended = async {
            while !self.inner.books.registry.principals().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(drain, ended).await.is_err() {
            self.inner.books.registry.cancel_all();
            // A moment for the streams to say why they end.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.inner.books.ledger.flush().await;
        self.inner.books.audit.flush().await;
    }
}

fn party(principal: &Principal) -> Party {
    Party { member: principal.counted_as(), organisation: principal.organisation().map(str::to_owned) }
}
