"""Which recipes bring grokking forward, against a tuned AdamW?"""
