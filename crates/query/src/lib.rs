//! SQL over the lake: one gate that every statement passes, a DataFusion session that reads one snapshot per
//! table, and a worker process in which all of it runs. Nothing here writes to the lake.

mod advice;
mod error;
mod functions;
mod gate;
mod limits;
mod postgres;
mod question;
mod rules;
mod session;
mod visibility;
mod worker;

pub use error::{Cause, ErrorReport, Position, QueryError};
pub use functions::{TABLE_FUNCTIONS, offered_functions};
pub use gate::{Checked, Relation, check};
pub use limits::{GateLimits, QueryLimits};
pub use postgres::{POSTGRES_SETTINGS, POSTGRES_TYPES, POSTGRES_VERSION, PostgresType, postgres_type};
pub use question::{Description, Facts, PARAMETERS_MAX, ParameterType, Parameters, Question, VersionRead};
pub use session::{Prepared, QueryEngine, RowStream};
pub use visibility::{Policies, Policy, Tables, Visibility};
pub use worker::{Progress, QueryPool, QueryWorkers, StoreAddress, Told, WorkerSettings, child_main};
