"""Where the steps of a load run: in this process, in others, on Celery's workers or in pods (FLUX_EXECUTOR)."""
