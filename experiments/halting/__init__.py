"""Can a looped model tell by itself when it has looped enough?"""
