"""Ask a Hambar data centre: SQL in; Arrow, pandas or Polars out, with sources and citations.

>>> import hambar
>>> client = hambar.connect("https://data.example.org", token="hbr_…")
>>> client.sql("SELECT * FROM demo.gdp_per_head WHERE country = $1", ["Bulgaria"]).pandas()
"""

from .catalogue import Column, Description, Source, Table
from .client import Client, connect
from .errors import (
    BrokenOffError,
    CancelledError,
    DeniedError,
    HambarError,
    LimitError,
    NotFoundError,
    ProblemError,
    QueryError,
    QuotaError,
    ServerError,
    StoreError,
    TransientError,
    TruncatedError,
    TruncatedWarning,
    UnexpectedAnswerError,
    UnreachableError,
)
from .result import Result

__version__ = "0.1.0"

__all__ = [
    "BrokenOffError",
    "CancelledError",
    "Client",
    "Column",
    "DeniedError",
    "Description",
    "HambarError",
    "LimitError",
    "NotFoundError",
    "ProblemError",
    "QueryError",
    "QuotaError",
    "Result",
    "ServerError",
    "Source",
    "StoreError",
    "Table",
    "TransientError",
    "TruncatedError",
    "TruncatedWarning",
    "UnexpectedAnswerError",
    "UnreachableError",
    "connect",
]
