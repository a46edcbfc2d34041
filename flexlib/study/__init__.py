"""What the study says: rates, statistics, the published record and the claims, tuning, costs."""
