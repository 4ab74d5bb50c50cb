"""What Alembic runs: the migrations, on the connection that it is given, in one transaction."""

from alembic import context

from rollbook.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
