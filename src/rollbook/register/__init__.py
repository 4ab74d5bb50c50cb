"""The rules of the register: one module per resource, plain functions on a transaction."""
