"""Django: `uvicorn examples.django_service:app`, then `curl localhost:8000/squares/1000000`."""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from carbon_sdk import CarbonMiddleware

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["carbon_sdk.integrations.django.endpoint_middleware"],
)


def squares(request: HttpRequest, count: int) -> JsonResponse:
    """The sum of so many squares, in a thread."""
    return JsonResponse({"sum": sum(number * number for number in range(count))})


urlpatterns = [path("squares/<int:count>", squares)]
app = CarbonMiddleware(get_asgi_application())
