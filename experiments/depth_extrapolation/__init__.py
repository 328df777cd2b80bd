"""Does a looped model follow more hops than it was trained on, if it loops more?"""
