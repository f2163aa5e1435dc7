"""Filters in SQL: an expression over the columns of a table, run by DuckDB on one piece of rows after another.

It is an expression and nothing else: DuckDB's own parser takes it apart first, and what is more than one expression
over one row's columns is refused (statements, subqueries, aggregates, windows). The connection has no access to files,
extensions or the network, and its settings are locked.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.errors import FilterError
from mmsearch.names import composed, composed_column, composed_lists, is_unicode

__all__ = ["RowFilter"]

_T = TypeVar("_T")

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",  # a piece of rows needs a few megabytes; an expression may ask for any amount
}
_BOUNDED_SETTINGS: dict[str, str | bool | int | float | list[str]] = {"threads": 1, "memory_limit": "256MB"}
_NOT_ONE_ROW = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star",
    "PARAMETER": "a parameter",
}
# Before, the parsed form of an expression left out the types that it casts to.
_BOUNDED_SINCE = 2
_BOUNDED_CLASSES = {
    *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION"),
    *("OPERATOR", "TYPE"),
}
_BOUNDED_OPERATORS = {
    *("OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "OPERATOR_NULLIF"),
    *("COMPARE_IN", "COMPARE_NOT_IN", "ARRAY_EXTRACT", "ARRAY_SLICE"),
}
_BOUNDED_TYPES = {
    *("VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR", "BOOLEAN", "BOOL", "DOUBLE", "FLOAT", "REAL", "DECIMAL"),
    *("NUMERIC", "TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    *("UBIGINT", "UHUGEINT", "DATE", "TIME", "TIMESTAMP", "DATETIME", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ"),
    *("INTERVAL", "INT1", "INT2", "INT4", "INT8", "FLOAT4", "FLOAT8"),
}
"""What a stranger's filter may cast to. A blob, bits or a list as text has several characters for each of its own, and
so on with each cast."""
_CONSTANT_PATTERNS = {
    *("~~", "!~~", "~~*", "!~~*", "~~~", "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape"),
    *("regexp_matches", "regexp_full_match", "strftime", "strptime"),
}
"""Functions whose second argument is compiled: for a stranger once, and not for each row."""
_BOUNDED_FUNCTIONS = frozenset(
    {
        *("+", "-", "*", "/", "//", "%", "**", "&", "|", "~", "<<", ">>", "||", "^@"),
        *("~~", "!~~", "~~*", "!~~*", "~~~", "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape"),
        *("regexp_matches", "regexp_full_match"),
        *("lower", "upper", "lcase", "ucase", "length", "len", "strlen", "trim", "ltrim", "rtrim", "left", "right"),
        *("substring", "substr", "contains", "starts_with", "ends_with", "prefix", "suffix", "position", "strpos"),
        *("instr", "split_part", "concat", "reverse", "strip_accents", "parse_filename", "parse_dirname", "nullif"),
        *("ifnull", "greatest", "least", "abs", "round", "floor", "ceil", "ceiling", "trunc", "sqrt", "ln", "log"),
        *("exp", "pow", "power", "mod", "sign", "md5", "hash", "year", "month", "day", "hour", "minute"),
        *("second", "quarter", "week", "dayofweek", "isodow", "dayofyear", "dayname", "monthname", "date_part"),
        *("datepart", "date_trunc", "datetrunc", "date_diff", "datediff", "make_date", "make_timestamp"),
        *("now", "today", "current_date", "current_timestamp", "get_current_timestamp", "epoch", "epoch_ms"),
        *("strftime", "strptime", "to_years", "to_months", "to_weeks", "to_days", "to_hours", "to_minutes"),
        *("to_seconds", "list_contains", "list_has", "array_contains", "array_has", "radians", "degrees"),
        *("sin", "cos", "asin"),
    }
)
"""What a filter of a stranger may use: functions whose work and whose result are bounded by what they are given, and no
longer than it: hex() doubles a text, and in hex(hex(…)) again at each level.

DuckDB can neither be interrupted within a piece of rows nor be kept from allocating by its own limit: repeat(path,
100000000) took 27 s and 4 GB where 3 s and 1 GB were allowed. `mmsearch.filter_process` does both."""
_ONE = "it must be one expression, as after WHERE, and nothing else"
_SHOWN = 200  # characters of an expression that a message repeats
# Of a parsed `SELECT expression`, all that may be there.
_PLAIN = {"type", "cte_map", "select_list", "from_table", "aggregate_handling"}


class RowFilter:
    """An expression that says of each row of a table whether it is admitted.

    columns: those that the expression reads, as the table spells them.
    """

    def __init__(self, expression: str, columns: Iterable[pa.Field], *, bounded: bool = False) -> None:
        """columns: those that may be used, `row_id` among them. Raises FilterError, which lists them.

        bounded: take only functions whose work is bounded by the row, as for a stranger's filter.
        """
        self._expression = expression = composed(expression)
        self._schema = pa.schema(columns)
        self._one_at_a_time = threading.Lock()
        self._connection = _database(bounded).cursor()
        parsed = self._parsed()
        self.columns = self._columns_of(parsed)
        if bounded:
            self._require_bounded(parsed)
        # The line break ends a comment in the expression.
        self._sql = f"SELECT row_id FROM rows WHERE ({expression}\n)"
        self._check_type()

    def row_ids(self, rows: pa.Table) -> NDArray[np.int64]:
        """The ids of those rows for which the expression is true, ascending. rows: `row_id` and `columns`.

        Where it is neither true nor false (NULL), a row is not admitted. Raises FilterError.
        """
        admitted = self._run(self._sql, _composed(rows), lambda found: found.fetchnumpy()["row_id"])
        return np.sort(np.asarray(admitted, np.int64))

    def _parsed(self) -> dict[str, Any]:
        """The expression as DuckDB parses it. Raises FilterError unless it is exactly one."""
        if not self._expression.strip():
            raise self._bad("it is empty")
        if not is_unicode(self._expression):
            raise self._bad("it is not UTF-8 text")
        sql = "SELECT json_serialize_sql(?::VARCHAR, skip_null := true, skip_empty := true)"
        try:
            (answer,) = self._connection.execute(sql, [f"SELECT {self._expression}"]).fetchall()
            parsed = json.loads(answer[0])
        except (RecursionError, duckdb.Error):
            raise self._bad("it is nested too deeply") from None
        if parsed["error"]:
            raise self._bad(parsed["error_message"] if parsed["error_type"] == "parser" else _ONE)
        nodes = [statement["node"] for statement in parsed["statements"]]
        node = nodes[0]
        one = len(nodes) == 1 and node["type"] == "SELECT_NODE" and len(node["select_list"]) == 1
        extra = {name for name, value in node.items() if value} - _PLAIN
        if not one or extra or node["from_table"]["type"] != "EMPTY" or _filled(node.get("cte_map")):
            raise self._bad(_ONE)
        expression: dict[str, Any] = node["select_list"][0]
        if expression.get("alias"):
            raise self._bad(f"{expression['alias']!r} does not belong at its end")
        return expression

    def _columns_of(self, expression: dict[str, Any]) -> list[str]:
        spelled = {name.lower(): name for name in self._schema.names}
        found = []
        for node in _nodes(expression):
            if (kind := node.get("class")) in _NOT_ONE_ROW:
                raise self._bad(f"{_NOT_ONE_ROW[kind]} is no part of a filter, which looks at one row at a time")
            if kind == "COLUMN_REF":
                name = ".".join(node["column_names"])
                if name.lower() not in spelled:
                    raise self._bad(f"there is no column {name}")
                found.append(spelled[name.lower()])
        return list(dict.fromkeys(found))

    def _require_bounded(self, expression: dict[str, Any]) -> None:
        if int(duckdb.__version__.partition(".")[0]) < _BOUNDED_SINCE:
            raise self._bad(
                f"duckdb {duckdb.__version__} does not tell enough of a filter to bound its work: "
                f"pip install 'duckdb>={_BOUNDED_SINCE}'"
            )
        for node in _nodes(expression):
            if (kind := node.get("class")) is not None and kind not in _BOUNDED_CLASSES:
                raise self._bad(f"a {kind.lower()} is more than filters may use here")
            if kind == "FUNCTION" and node["function_name"].lower() not in _BOUNDED_FUNCTIONS:
                raise self._bad(f"the function {node['function_name']} is not among those that filters may use here")
            if kind == "FUNCTION" and node["function_name"].lower() in _CONSTANT_PATTERNS:
                _, *patterns = [each["expression"] for each in node["arguments"]]
                if any(each["class"] != "CONSTANT" for each in patterns):
                    raise self._bad(f"the pattern of {node['function_name']} is not one text for all rows")
            if kind == "OPERATOR" and node["type"] not in _BOUNDED_OPERATORS:
                raise self._bad(f"a {node['type'].lower().replace('_', ' ')} is more than filters may use here")
            if kind == "TYPE" and node["type_name"].upper() not in _BOUNDED_TYPES:
                raise self._bad(f"the type {node['type_name']} is more than filters may use here")

    def _check_type(self) -> None:
        none = pa.Table.from_batches([], self._schema)  # schema.empty_table() imports pandas where there is one
        self.row_ids(none)  # aggregates are refused here: a WHERE takes none
        kind = self._run(f"SELECT ({self._expression}\n) FROM rows", none, lambda found: str(found.description[0][1]))
        if kind.upper() not in ("BOOLEAN", "BOOL"):
            raise self._bad(f"it gives {kind.lower()}, not true or false")

    def _run(self, sql: str, rows: pa.Table, take: Callable[[duckdb.DuckDBPyConnection], _T]) -> _T:
        with self._one_at_a_time:
            self._connection.register("rows", rows)
            try:
                return take(self._connection.execute(sql))
            except duckdb.Error as error:
                raise self._bad(str(error)) from error

    def _bad(self, reason: str) -> FilterError:
        # DuckDB's first line says what is wrong; the rest repeats the SQL around it, which nobody typed.
        first = reason.split("\n", 1)[0].split(" Error: ", 1)[-1].strip(" .!")
        columns = ", ".join(f"{field.name} ({_type(field.type)})" for field in self._schema)
        shown = self._expression if len(self._expression) <= _SHOWN else f"{self._expression[:_SHOWN]}…"
        return FilterError(f"the filter {shown!r} cannot be used: {first}{self._hint(first)}. Columns: {columns}")

    def _hint(self, reason: str) -> str:
        """How to write what is often written otherwise."""
        dates = [field.name for field in self._schema if pa.types.is_timestamp(field.type)]
        if any(name in self._expression.lower() for name in dates):
            return f"; a date is a text in single quotes, as in {dates[0]} >= '2024-01-31'"
        unknown = reason.removeprefix("there is no column ")
        return "; a text takes single quotes" if f'"{unknown}"' in self._expression else ""


@lru_cache
def _database(bounded: bool) -> duckdb.DuckDBPyConnection:
    """An empty database: each filter has a connection of its own to it, which takes less than one of its own."""
    database = duckdb.connect(":memory:", config=_SETTINGS | (_BOUNDED_SETTINGS if bounded else {}))
    database.execute("SET lock_configuration = true")
    return database


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed expression."""
    if isinstance(tree, dict):
        yield tree
        for inner in tree.values():
            yield from _nodes(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _nodes(inner)


def _composed(rows: pa.Table) -> pa.Table:
    """The rows with their text in the form in which a filter is typed: a Mac's file system spells é otherwise."""
    for column, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            rows = rows.set_column(column, field.name, composed_column(rows.column(column)))
        elif pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
            rows = rows.set_column(column, field.name, composed_lists(rows.column(column)))
    return rows


def _filled(tree: Any) -> bool:
    """Whether anything stands in an object of lists."""
    return any(_filled(inner) for inner in tree.values()) if isinstance(tree, dict) else bool(tree)


def _type(kind: pa.DataType) -> str:
    """A column's type in the words of SQL."""
    if pa.types.is_string(kind):
        return "text"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_floating(kind):
        return "number"
    if pa.types.is_list(kind):
        return "list of texts" if pa.types.is_string(kind.value_type) else "list of numbers"
    return "blob" if pa.types.is_binary(kind) else "timestamp" if pa.types.is_timestamp(kind) else str(kind)
