"""From what is wrong to who is alerted, without Dagster: observations, incidents, messages, and where they go.

Reading order: observation.py (what is wrong right now), incident.py (what of it belongs together, since when, what is
over), delivery.py (what is sent, once), message.py (in which words), webhook.py (to whom).
"""
