"""The mail system, as the relay of the outbox sees it."""

from services.kit.relay import OutboxEvent, Undelivered
from services.notification.mail import Mail, Mailer, MailSystemError


class Letters:
    """Gives letters to a mail system until it takes them, or they have waited too long.

    Args:
        mail: The use cases.
        mailer: The mail system.
    """

    def __init__(self, mail: Mail, mailer: Mailer) -> None:
        self._mail, self._mailer = mail, mailer

    async def __call__(self, event: OutboxEvent) -> None:
        """Raises Undelivered."""
        try:
            await self._mail.deliver(event.payload["letter_id"], self._mailer)
        except MailSystemError as e:
            raise Undelivered(str(e)) from None
