"""When is modular addition understood, and what changes inside when it is?"""
