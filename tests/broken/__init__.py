"""Consumers that are broken on purpose, one defect each, so that checkers are seen to fail.

    LineSettings(consumer="tests.broken.drops")

Each module is started as the CRM is, and puts a class of its own in the place of one of the CRM's. All of them,
the healthy one included, send ten mails a request, so that a batch takes many requests and a kill hits in between.
"""

from __future__ import annotations

from ordershop.services import crm

MAILS_A_REQUEST = 10


def start(*, subscription: type[crm.Subscription] = crm.Subscription, effect: type[crm.Crm] = crm.Crm) -> None:
    """Run the CRM with parts of one's own, until it is told to stop."""
    vars(crm).update(Subscription=subscription, Crm=effect, MAILS_A_REQUEST=MAILS_A_REQUEST)
    crm.main()
