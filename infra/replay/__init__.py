"""A past incident decided again from the record. Pure: records in, differences out; the sources are at the edge."""
