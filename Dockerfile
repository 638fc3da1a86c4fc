# One container with the app and its worker; the home folder is a volume.
FROM python:3.11-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY . .
RUN useradd --create-home app && mkdir /data && chown app /data
USER app
# inside a container the address is public, so the names that may be asked for are given by whoever runs it
ENV PYTHONPATH=/app TLTOOLS_HOME=/data STREAMLIT_SERVER_ADDRESS=0.0.0.0
VOLUME /data
EXPOSE 8501
HEALTHCHECK CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health')"
CMD ["python", "-m", "streamlit", "run", "tltools/ui/server.py"]
