# The app in a container: `docker compose up`, or
#   docker build -t pneumoscope . && docker run -p 127.0.0.1:8501:8501 -v pneumoscope:/var/lib/pneumoscope pneumoscope
# It asks for a sign-in. The code that makes the first account stands in the container's log (docs/operating.md).

FROM python:3.12-slim AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.txt requirements-openid.txt /tmp/
RUN /opt/venv/bin/pip install --quiet --requirement /tmp/requirements.txt --requirement /tmp/requirements-openid.txt

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Pneumoscope" \
      org.opencontainers.image.description="Probability of pneumonia from a frontal chest X-ray" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN useradd --system --uid 10001 --home-dir /var/lib/pneumoscope --create-home --shell /usr/sbin/nologin pneumoscope
COPY --from=environment /opt/venv /opt/venv
WORKDIR /app
COPY .streamlit .streamlit
COPY LICENSE NOTICE ./
COPY model model
COPY utils utils
COPY pages pages
COPY app.py ./

# Inside the container the server listens on all addresses, so that it always asks for a sign-in. No secret belongs in
# the image: they come through the environment when it is started.
# The browser's address is named so that Streamlit does not ask the internet for its own.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PNEUMOSCOPE_HOME=/var/lib/pneumoscope \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_PORT=8501 \
    STREAMLIT_SERVER_HEADLESS=true \
    STREAMLIT_BROWSER_SERVER_ADDRESS=localhost

USER 10001
VOLUME /var/lib/pneumoscope
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["python", "-m", "streamlit", "run", "app.py"]
