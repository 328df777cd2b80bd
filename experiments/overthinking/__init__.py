"""Do more loops than needed destroy an answer that loops had reached?"""
