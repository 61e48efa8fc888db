"""A finished export without some of its samples, its shards full again: which samples move where,
shards that wait until all of their bucket are there, and meta/ brought up to date."""
