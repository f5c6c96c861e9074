"""The record of a sweep as Parquet tables: schema, records, write, read. Knows Arrow and Polars only."""
