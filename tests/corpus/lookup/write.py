"""Writes `networks.mmdb` with an implementation of the format that is not ours.

pip install mmdb-writer==0.2.7; python write.py
"""

from pathlib import Path

from mmdb_writer import MMDBWriter, MmdbF64, MmdbU64
from netaddr import IPSet

writer = MMDBWriter(6, "Networks", ipv4_compatible=True, description="networks of a test")
writer.insert_network(IPSet(["1.2.8.0/21"]), {"asn": 64501, "name": "Wide"})
record = {"asn": 64500, "name": "One", "tags": ["a", "b"], "geo": {"lat": MmdbF64(-1.5), "eu": True}}
writer.insert_network(IPSet(["1.2.3.0/24"]), record)
writer.insert_network(IPSet(["2001:db8::/32"]), {"asn": MmdbU64(2**64 - 1), "name": "Six"})
writer.insert_network(IPSet(["198.51.100.0/25", "203.0.113.7/32"]), {"asn": 64502, "name": "Two places"})
writer.to_db_file(str(Path(__file__).with_name("networks.mmdb")))
