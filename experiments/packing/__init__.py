"""Does training in a pack change when runs generalize?"""
