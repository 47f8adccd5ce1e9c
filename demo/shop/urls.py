"""The shop's pages."""

from django.contrib.auth.views import LoginView
from django.urls import path

from shop import views
from shop.users import NAMES

sign_in = LoginView.as_view(
    template_name="sign_in.html",
    redirect_authenticated_user=True,
    extra_context={"names": NAMES},
)

urlpatterns = [
    path("", views.shelf, name="shelf"),
    path("cart/", views.cart_page, name="cart"),
    path("cart/add/", views.add, name="add"),
    path("cart/put/", views.put, name="put"),
    path("cart/order/", views.order, name="order"),
    path("sign-in/", sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("sessions/", views.sessions, name="sessions"),
    path("sessions/slide/", views.slide, name="slide"),
    path("sessions/end/", views.end, name="end"),
]
