"""The only room that runs SQL: the pool, the query loader, the migrations, one module per subject."""
