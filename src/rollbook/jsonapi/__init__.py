"""JSON:API 1.1 as a format: documents, queries, errors; knows nothing of contacts."""
