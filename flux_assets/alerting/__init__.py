"""From what is wrong to who is alerted, without Dagster: observations, incidents, messages, and where they go.

Reading order: incident.py (what is wrong right now, and what of it belongs together), delivery.py (what is sent, once,
and in which words), webhook.py (to whom). listening.py tells caches of every change of a table instead.
"""
