"""Where, and when, a looped transformer holds what it composes."""
