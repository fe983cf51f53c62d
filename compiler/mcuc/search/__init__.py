"""Architecture search. mcuc.search.run.run_search is the entry; it needs torch, so nothing of it is imported here."""

import os

# Threads of a training step that wait for each other sleep instead of spinning: where other processes want the cores,
# a step takes a seventh of the time (1,450 -> 204 ms with 8 of them on 2 cores). OpenMP reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
