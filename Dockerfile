# One container with the app and its worker; the home folder is a volume. `docker compose up` starts it (compose.yaml).
# Without compose: docker run -p 127.0.0.1:8501:8501 -e TLTOOLS_OPEN=1 -v tltools:/data IMAGE
FROM python:3.11-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY . .
RUN useradd --create-home app && mkdir /data && chown app /data
USER app
# 0.0.0.0: the server listens outside the container. It has no sign-in and so does not start on such an address before
# whoever runs the container says with TLTOOLS_OPEN=1 that only trusted people reach the published port.
ENV PYTHONPATH=/app TLTOOLS_HOME=/data STREAMLIT_SERVER_ADDRESS=0.0.0.0
VOLUME /data
EXPOSE 8501
HEALTHCHECK CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health')"
CMD ["python", "-m", "streamlit", "run", "tltools/ui/server.py"]
