"""Alembic's entry: the migrations in `versions/`, one after the other, on the connection of `utils.database`.

To change a table: change `utils/tables.py`, add a file here that does the same to a database with data in it, and
let `tests/utils/test_migrations.py` say what the two still differ in. There is no way down: an older program needs
the backup from before.
"""

from __future__ import annotations

from alembic import context

from utils.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
with context.begin_transaction():
    context.run_migrations()
