"""Architecture search. mcuc.search.run.run_search is the entry; it needs torch, so nothing of it is imported here."""

import os

# Threads of a training step that wait for each other sleep instead of spinning, which would keep the cores from the
# very threads they wait for where other processes want them too. OpenMP reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
