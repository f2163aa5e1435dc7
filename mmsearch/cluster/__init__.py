"""Distributes pieces of work to worker processes.

    dispatcher   assigns pieces to workers that may end at any moment
    ray          workers as actors of a Ray cluster

Nothing here knows what the work is.
"""

from mmsearch.cluster.dispatcher import Dispatcher, FinishedPiece, LostPiece, WorkerEvent, WorkerPool, WorkerResources

__all__ = ["Dispatcher", "FinishedPiece", "LostPiece", "WorkerEvent", "WorkerPool", "WorkerResources"]
