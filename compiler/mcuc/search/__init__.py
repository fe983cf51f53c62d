"""Architecture search. mcuc.search.run.run_search is the entry; it needs torch, so nothing is imported here."""
