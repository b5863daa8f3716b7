"""The schema in words: a description that is the same for the same catalog, whatever built it and on which Postgres."""

from outreach.models.base import Tx

_COLUMNS = """
SELECT format('table %%s: %%s %%s%%s%%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
              coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || CASE a.attidentity WHEN '' THEN '' ELSE ' identity' END) AS line
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
_CONSTRAINTS = """
SELECT format('constraint %%s on %%s: %%s', k.conname, c.relname, pg_get_constraintdef(k.oid)) AS line
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
 WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND k.contype <> 'n'"""
_INDEXES = """
SELECT format('index: %%s', pg_get_indexdef(i.indexrelid)) AS line
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition"""
_TRIGGERS = """
SELECT format('trigger: %%s', pg_get_triggerdef(t.oid)) AS line
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal AND NOT c.relispartition"""
_FUNCTIONS = """
SELECT format('function %%s(%%s): %%s', p.proname, pg_get_function_identity_arguments(p.oid), md5(p.prosrc)) AS line
  FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"""


def describe(tx: Tx) -> str:
    """Tables, constraints, indexes, triggers and functions of the schema `public`, a line each, sorted. No partitions."""
    statements = (_COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS, _FUNCTIONS)
    lines = sorted(row["line"] for statement in statements for row in tx.rows(statement))
    return "".join(f"{line}\n" for line in lines)
