"""The demo: a page on which a picture goes down and comes back, beside what the same bytes buy elsewhere.

`exhibit`, `acts` and `views` know nothing of a browser; `visits` keeps users apart; `guard` stands before the door;
`page` says what there is to see, `desk` what its buttons do; `server` opens it.
"""
