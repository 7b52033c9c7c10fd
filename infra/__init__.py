"""The world: Kafka, ClickHouse, PD, files, clocks."""
