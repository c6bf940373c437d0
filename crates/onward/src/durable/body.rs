//! The body of a durable endpoint's response.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};

pin_project_lite::pin_project! {
    /// The handler's own body where its run took no step; otherwise the bytes that were kept, or the run's stream.
    #[derive(Debug)]
    pub struct DurableBody<B> {
        #[pin]
        inner: Kind<B>,
    }
}

pin_project_lite::pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Handler { #[pin] body: B },
        Kept { bytes: Option<Bytes> },
        Stream { bytes: BoxStream<'static, Bytes> },
    }
}

impl<B: std::fmt::Debug> std::fmt::Debug for Kind<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Handler { body } => f.debug_tuple("Handler").field(body).finish(),
            Self::Kept { bytes } => write!(f, "Kept({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Self::Stream { .. } => f.write_str("Stream(…)"),
        }
    }
}

impl<B> DurableBody<B> {
    pub(crate) const fn handler(body: B) -> Self {
        Self { inner: Kind::Handler { body } }
    }

    pub(crate) const fn stream(bytes: BoxStream<'static, Bytes>) -> Self {
        Self { inner: Kind::Stream { bytes } }
    }

    pub(crate) fn kept(bytes: Bytes) -> Self {
        Self { inner: Kind::Kept { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }
}

impl<B: Body<Data = Bytes>> Body for DurableBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().inner.project() {
            KindProj::Handler { body } => body.poll_frame(cx),
            KindProj::Kept { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            KindProj::Stream { bytes } => {
                bytes.as_mut().poll_next(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Kind::Handler { body } => body.is_end_stream(),
            Kind::Kept { bytes } => bytes.is_none(),
            Kind::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Kind::Handler { body } => body.size_hint(),
            Kind::Kept { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Stream { .. } => SizeHint::new(),
        }
    }
}
