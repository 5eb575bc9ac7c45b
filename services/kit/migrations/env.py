"""Alembic's environment, shared by all services: each has only `migrations/versions` of its own."""

from alembic import context

# Where the connection is in a transaction already, as on SQLite, that is the only one.
context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
