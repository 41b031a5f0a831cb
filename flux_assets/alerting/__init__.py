"""From what is wrong to somebody who is told: observations, incidents, messages, and where they go.

Here: what needs no Dagster. Reading order: observation.py (what is wrong right now), incident.py (what of it belongs
together, since when, and what is over), delivery.py (what is told of it, once), message.py (in which words), webhook.py
(to whom). Not here: what Dagster knows (alert_events.py), and who looks (alert_sensor.py, watchdog.py).
"""
