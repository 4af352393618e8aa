"""Demo: a page that downscales an image and restores it, beside what the same bytes buy in other formats.

`comparison`, `tasks` and `error_maps` know nothing of a browser; `sessions` keeps users apart; `middleware` guards the
server; `ui` lays out the page, `handlers` holds what its buttons do; `server` serves it.
"""
