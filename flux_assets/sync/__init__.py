"""The parts of a sync of the dynamic tables, which sync.py puts in order.

Reading order: source.py (reading, on a thread of its own), snapshot.py (what was read), work.py (one table's way, and
the gate's judgement), write.py (the transaction), guard.py (sources that lost rows), result.py (what may be asked, and
what is told), turned_away.py (what is told without the lock). Not here: the statements (postgis/) and the source's
queries (warehouse/).
"""
