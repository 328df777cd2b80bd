"""From runs to one page of HTML that needs no server and no network."""
